"""Trainings of several processes, against the same training by one."""
