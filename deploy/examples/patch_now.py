import datetime, json, sys, uuid, pika
url, patch_group = sys.argv[1:]
event = {"specversion": "1.0", "id": str(uuid.uuid4()), "source": "/examples/patch-now",
         "type": "patchwave.command.requested.v1", "time": datetime.datetime.now(datetime.timezone.utc).isoformat(),
         "data": {"DocumentName": "AWS-RunPatchBaseline", "Parameters": {"Operation": ["Install"]},
                  "Targets": [{"Key": "tag:Patch Group", "Values": [patch_group]}]}}
channel = pika.BlockingConnection(pika.URLParameters(url)).channel()
channel.confirm_delivery()
channel.basic_publish("patchwave.events", "command.requested", json.dumps(event), pika.BasicProperties(delivery_mode=2))
print("command", event["id"])
