"""What runs on the training ranks: the only home of torch, DeepSpeed and transformers. The pure parts import none of them."""
