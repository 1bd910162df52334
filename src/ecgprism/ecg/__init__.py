"""One ECG in memory: recording, leads, electrodes, resampling, conditioning, quality, QRS complexes, noise."""
