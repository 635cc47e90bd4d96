"""Files of respondents: one row a person, one column a variable, with what the file says of its variables."""
