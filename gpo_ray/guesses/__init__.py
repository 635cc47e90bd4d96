"""What a language model guesses of a question's shares: made here, or read from a table, and stored."""
