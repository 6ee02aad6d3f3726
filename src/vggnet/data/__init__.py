"""Which files a data set has, their labels and boxes."""
