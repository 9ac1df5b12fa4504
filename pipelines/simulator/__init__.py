"""A simulator of lifelong short-video histories that knows every click's true probability."""

from pipelines.simulator.simulation import SimulationError, SimulationReport, simulate

__all__ = ["SimulationError", "SimulationReport", "simulate"]
