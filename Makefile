.PHONY: check format
check:
	ruff check .
	ruff format --check .
	mypy
format:
	ruff check --fix .
	ruff format .
