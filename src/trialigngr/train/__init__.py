"""The one supervised loop: mixture in, checkpoint out; resumable, with selection on validation."""
