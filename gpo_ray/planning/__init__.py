"""Planning a job before it runs: tokens, operations, memory, time and cost of every stage."""
