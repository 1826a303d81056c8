"""What could make the model look better than it is: shortcuts, wrong labels, subgroups, failures."""
