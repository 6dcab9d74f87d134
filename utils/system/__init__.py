"""The ground: errors, files, logging, processes, signals. models/ and data_objects/ use this wing alone."""
