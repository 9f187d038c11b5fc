"""Find out what precision costs a model: records of runs, laws, their fits, sweeps, and a planner."""
