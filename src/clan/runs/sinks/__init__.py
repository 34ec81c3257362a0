"""Where the numbers of a run go beside metrics.jsonl: TensorBoard, CSV, trackers, your own."""
