"""T5 1.1: `config.T5Config` is the network that the rest of recalign sees."""
