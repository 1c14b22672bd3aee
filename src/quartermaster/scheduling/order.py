"""Temporary order."""


class QueueOrder:
    def __init__(self, tree, state, groups, *, group_key=None):
        key = group_key or (lambda g: (-g.priority, g.created))
        self.todo = sorted(groups, key=key, reverse=False)[::-1]

    def pop(self):
        return self.todo.pop() if self.todo else None

    def push(self, g):
        self.todo.insert(0, g)

    def gate(self, g):
        return None
