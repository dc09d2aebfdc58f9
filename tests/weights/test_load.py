"""What a process reads of an array whose parts lie on the devices of several."""

from recalign.weights import load


class Sharding:
    """Of an array of 12 rows and 8 columns, what this process's two devices hold."""

    def addressable_devices_indices_map(self, shape):
        assert shape == (12, 8)
        return {
            "device 2": (slice(6, 9), slice(None)),
            "device 3": (slice(9, 12), slice(None)),
        }


def test_a_process_reads_the_box_around_its_devices_parts():
    assert load._held_by_this_process(Sharding(), (12, 8)) == (slice(6, 12), slice(0, 8))
