"""What a writer is made of: lanes, the thread behind them, recovery, and the bound on a growing replay."""
