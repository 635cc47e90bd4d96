"""The frozen language model: template, encoder, embedding store and the Ray Data job."""
