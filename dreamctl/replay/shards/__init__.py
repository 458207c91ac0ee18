"""One shard as a file: what is in it, how it is written, what must hold before it is believed."""
