"""Train nets (Sect. 3.1): plan, run folder, loop, learning rate, checkpoints."""
