"""Containers: a frozen description goes in, crun under conmon keeps it running, states and exits come out."""
