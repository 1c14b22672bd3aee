"""A real kube-apiserver with etcd on loopback, as processes of this one: where the programs are, and how they live."""
