"""What the presets good and best add to the reference."""


def batch_indices(step, batch_size, count):
    """The documents of one step: the next batch_size of them, from the start again at the end."""
    return [i % count for i in range(step * batch_size, (step + 1) * batch_size)]


def batch_loss(losses):
    """The mean loss of the documents of a batch. For one document this changes no bit."""
    return (1 / len(losses)) * sum(losses)
