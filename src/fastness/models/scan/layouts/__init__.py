"""One format of several files a file. Each module holds one frozen dataclass, its RULES and, on the last line, its LAYOUT marker."""
