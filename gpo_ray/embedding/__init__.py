"""Embeddings of questions by a frozen language model: template, encoder, embedding store and Ray Data job."""
