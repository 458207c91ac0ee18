"""What a reader is made of: shards joined into streams, small columns in memory, big ones wherever they lie."""
