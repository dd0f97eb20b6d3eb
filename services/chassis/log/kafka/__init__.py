"""Apache Kafka as the log, through aiokafka: what to use past one machine.

`log.py` is the log, `reader.py` its reading half (all that followers need), `tail.py` a place in it;
`topics.py` makes and checks the topics, `meta.py` keeps the log's identity, `copying.py` brings another log.
`client.py`, `contact.py` and `faults.py` know how aiokafka connects and fails; nothing outside imports it.
"""
