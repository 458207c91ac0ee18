"""The replay format: HDF5 shards, their writer, reader and window sampler."""
