"""The lake on a cluster: what is sent there, how a job is submitted, and whether every executor is as the driver is."""
