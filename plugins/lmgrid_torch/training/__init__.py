"""The training loop: steps of gradient descent, their statistics, rollback and resumption."""
