"""Set up `.venv` with uv. Standard library only: it runs before all else."""
