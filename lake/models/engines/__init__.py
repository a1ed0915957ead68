"""Engines: each loads one format of model and does one kind of work with it. They run in the decoding child."""
