"""What a model is: features, rules, architectures. Arrays in, arrays out."""
