"""What becomes of each convolution: candidates, cost models, the knapsack and the searches over budgets."""
