"""What a sampler is made of: where windows begin, which are drawn, in what state they start, batches ahead of time."""
