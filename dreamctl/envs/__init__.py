"""Environment suites, their discovery, and the driver that runs them."""
