"""What this clinic's patients have spent of their privacy in runs with `dp_epsilon`, and the noise of a round."""
