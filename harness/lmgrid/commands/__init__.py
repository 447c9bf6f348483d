"""The commands of ``lmgrid``, a file each. They parse and call; what is heavy, they import late."""
