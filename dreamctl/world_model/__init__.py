"""Encoder, recurrent state-space model, decoder and predictors."""
