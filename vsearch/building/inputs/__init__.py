"""The input of a build: vectors, attributes and ids, from arrays, frames and files, in bounded memory."""
