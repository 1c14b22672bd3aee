"""What kubelets, nodes and bad luck do to objects, as tables: KWOK's Stage model, read from YAML.

`table` reads, `engine` decides, `facts` computes, `player` acts.
"""
