"""What a job will take: tokens, operations, memory, time and cost of every stage, before anything runs."""
