"""The commands of ``lmgrid``, one in each file. Slow imports are inside their functions."""
