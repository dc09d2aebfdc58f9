"""TPU chips and slices: published figures, and the devices that the compiler is told to aim at."""

import contextlib
import dataclasses
import importlib.util
import math
import os
import re
from collections.abc import Iterator
from typing import Any

import jax
from jax.experimental import topologies

from recalign.errors import UserError

LIBTPU = "libtpu==0.0.42.1"  # the release that jax 0.10.2 names in its extra `tpu`
_GIB = 2**30


@dataclasses.dataclass(frozen=True)
class Chip:
    """What Google publishes of a chip (cloud.google.com/tpu/docs/{v4,v5e,v5p,v6e})."""

    flops: float  # peak bfloat16 operations a second
    hbm_bytes: int
    hbm_bandwidth: float  # bytes a second between the memory and the cores
    # Bytes a second and direction over one link to a neighbour: the published two-way total over
    # the links and by two. v4's page gives none: 50 GB/s, from Jouppi et al. (2023), "TPU v4",
    # table 4.
    link_bandwidth: float
    dimensions: int  # of its torus; a chip has two links a dimension
    largest_slice: int  # in chips


CHIPS = {
    "v4": Chip(275e12, 32 * _GIB, 1200e9, 50e9, 3, 4096),
    "v5e": Chip(197e12, 16 * _GIB, 819e9, 50e9, 2, 256),
    "v5p": Chip(459e12, 95 * _GIB, 2765e9, 100e9, 3, 6144),
    "v6e": Chip(918e12, 32 * _GIB, 1638e9, 100e9, 2, 256),
}


@dataclasses.dataclass(frozen=True)
class Slice:
    """A generation and the sides of its torus, as in v5e:4x4."""

    generation: str
    sides: tuple[int, ...]

    @classmethod
    def parse(cls, text: str) -> "Slice":
        """
        >>> Slice.parse("v5e:4x4").chips
        16
        """
        match = re.fullmatch(r"(?P<generation>\w+):(?P<sides>\d+(x\d+)+)", text)
        if not match or match["generation"] not in CHIPS:
            raise UserError(
                f"--topology {text}: give a generation ({', '.join(CHIPS)}) and its slice, such as "
                "v5e:4x4 or v4:2x2x4"
            )
        found = cls(match["generation"], tuple(int(side) for side in match["sides"].split("x")))
        if len(found.sides) != found.chip.dimensions:
            example = "x".join(["2"] * found.chip.dimensions)
            raise UserError(
                f"--topology {text}: slices of {found.generation} have {found.chip.dimensions} "
                f"dimensions, such as {found.generation}:{example}"
            )
        if not 1 <= found.chips <= found.chip.largest_slice:
            raise UserError(
                f"--topology {text}: {found.chips} chips; the largest slice of "
                f"{found.generation} has {found.chip.largest_slice}"
            )
        return found

    @property
    def chip(self) -> Chip:
        return CHIPS[self.generation]

    @property
    def chips(self) -> int:
        return math.prod(self.sides)

    @property
    def name(self) -> str:
        return f"{self.generation}:{'x'.join(map(str, self.sides))}"

    @property
    def ring_bandwidth(self) -> float:
        """Bytes a second that a chip sends in a collective over a ring of chips.

        Both directions of one dimension. Sides below 16 (v5e, v6e) or 4 (v4, v5p) do not close to
        a ring, and a line is taken to do half as well.
        """
        closed = 16 if self.chip.dimensions == 2 else 4
        both = 2 * self.chip.link_bandwidth
        return both if min(self.sides) >= closed else both / 2

    def devices(self) -> list[Any]:
        """The slice's chips, for which programs can be compiled but not run."""
        _find_libtpu()
        options: dict[str, Any] = {}
        if self.generation == "v4":
            options["chip_config_name"] = "megacore"  # a chip's two cores are one device, as in use
        if self.chips == 1:
            options["chips_per_host_bounds"] = (1, 1, 1)
        try:
            with _quiet_errors():
                topology = topologies.get_topology_desc(
                    platform="tpu", topology_name=self.name, **options
                )
        except jax.errors.JaxRuntimeError as error:
            raise UserError(f"--topology {self.name}: {str(error).splitlines()[0]}") from error
        return list(topology.devices)


def _find_libtpu() -> None:
    """Makes ready for XLA's TPU compiler, with the CPU as the only device that is used."""
    if importlib.util.find_spec("libtpu") is None:
        raise UserError(
            f"plan compiles with XLA's TPU compiler, which is not installed: pip install {LIBTPU}"
        )
    jax.config.update("jax_platforms", "cpu")
    # Without them libtpu asks the metadata server of a machine in Google's cloud, for minutes.
    os.environ.setdefault("TPU_SKIP_MDS_QUERY", "1")
    os.environ.setdefault("TPU_ACCELERATOR_TYPE", "v5litepod-16")
    os.environ.setdefault("TPU_WORKER_HOSTNAMES", "localhost")
    os.environ.setdefault("TPU_WORKER_ID", "0")
    # No chip is opened, so another process may have the library too.
    os.environ.setdefault("ALLOW_MULTIPLE_LIBTPU_LOAD", "1")


@contextlib.contextmanager
def _quiet_errors() -> Iterator[None]:
    """Keeps libtpu's greeting, written to standard error by its C++ side, from the user."""
    kept = os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)
