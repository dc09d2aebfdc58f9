"""P5's five families of tasks, by its own template numbers, fields and answers."""
