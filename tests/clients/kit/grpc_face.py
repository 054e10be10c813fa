"""gRPC as a stranger meets it: everything is learnt from the server's reflection, nothing is generated beforehand."""

from dataclasses import dataclass, field

import grpc
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.json_format import MessageToDict, ParseDict
from google.protobuf.message_factory import GetMessageClass
from google.rpc import error_details_pb2
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase
from grpc_status import rpc_status

TIMEOUT_SECONDS = 60
BODY_BYTES_MAX = 64 * 1024 * 1024

# Which method each tool is.
TOOLS = {
    "generate_image": "GenerationService/GenerateImage",
    "generate_video": "GenerationService/GenerateVideo",
    "get_task_status": "GenerationService/GetTaskStatus",
}


@dataclass
class Refused(Exception):
    """A failed call: the status and what `grpc-status-details-bin` carries."""

    code: int
    message: str
    reason: str = ""
    domain: str = ""
    metadata: dict = field(default_factory=dict)
    violations: list = field(default_factory=list)
    retry_seconds: float | None = None

    @staticmethod
    def of(error: grpc.RpcError) -> "Refused":
        refused = Refused(error.code().value[0], error.details())
        status = rpc_status.from_call(error)
        for detail in status.details if status else []:
            info, retry = error_details_pb2.ErrorInfo(), error_details_pb2.RetryInfo()
            bad = error_details_pb2.BadRequest()
            if detail.Unpack(info):
                refused.reason, refused.domain, refused.metadata = info.reason, info.domain, dict(info.metadata)
            elif detail.Unpack(retry):
                refused.retry_seconds = retry.retry_delay.seconds + retry.retry_delay.nanos / 1e9
            elif detail.Unpack(bad):
                refused.violations = [(each.field, each.description) for each in bad.field_violations]
        return refused


class Grpc:
    """Calls to one server over one channel. The key is given with each call or once, here."""

    def __init__(self, address: str, key: str | None = None) -> None:
        options = [("grpc.max_send_message_length", BODY_BYTES_MAX), ("grpc.enable_http_proxy", 0)]
        self.channel = grpc.insecure_channel(address, options=options)
        self.key = key
        self.database = ProtoReflectionDescriptorDatabase(self.channel)
        self.pool = DescriptorPool(self.database)

    def services(self) -> list[str]:
        return sorted(self.database.get_services())

    def method(self, name: str):
        service, method = name.split("/")
        return self.pool.FindServiceByName(f"piooy.v1.{service}").FindMethodByName(method)

    def call(self, name: str, request: dict, key: str | None = None, metadata: tuple = ()) -> dict:
        """The answer of `Service/Method`, in protobuf's JSON with every field of it present.

        Raises `Refused`.
        """
        method = self.method(name)
        message = ParseDict(request, GetMessageClass(method.input_type)())
        call = self.channel.unary_unary(
            f"/{method.containing_service.full_name}/{method.name}",
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=GetMessageClass(method.output_type).FromString,
        )
        shown = key or self.key
        if shown is not None:
            metadata = (*metadata, ("authorization", f"Bearer {shown}"))
        try:
            answer = call(message, metadata=metadata, timeout=TIMEOUT_SECONDS)
        except grpc.RpcError as error:
            raise Refused.of(error) from None
        return MessageToDict(answer, always_print_fields_with_no_presence=True)

    def watch(self, task_id: str) -> list[dict]:
        """Every state of a task that WatchTask sends, until the stream ends."""
        method = self.method("GenerationService/WatchTask")
        call = self.channel.unary_stream(
            f"/{method.containing_service.full_name}/{method.name}",
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=GetMessageClass(method.output_type).FromString,
        )
        request = GetMessageClass(method.input_type)(task_id=task_id)
        states = call(request, metadata=(("authorization", f"Bearer {self.key}"),), timeout=TIMEOUT_SECONDS)
        return [MessageToDict(state, always_print_fields_with_no_presence=True) for state in states]

    def close(self) -> None:
        self.channel.close()
