"""What every table needs beside the model: simple systems on the same split, with the same masks."""
