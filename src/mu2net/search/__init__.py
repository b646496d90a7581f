"""The cycle of a task: ask an agent, train, tell, publish; within a budget, and resumable."""
