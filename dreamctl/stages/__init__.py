"""One file, one command: plain functions that notebooks and tests call too."""
