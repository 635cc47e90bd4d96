"""Evaluation: protocols, the methods compared, their scores with statistics and tables, and the report."""
