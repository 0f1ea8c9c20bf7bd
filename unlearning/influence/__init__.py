"""What single records did to a linear model: exact leave-out changes of weights, predictions and accuracy."""
