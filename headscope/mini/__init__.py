"""The bundled model: its tokenizer, training, evaluation and card."""
