"""The kernel's virtual servers in memory, with its rules: what is added must not be there, what is changed must."""

from collections.abc import Iterable, Mapping

from sampan.kernel.ipvs import Command, Key, Real, RealState, Service, Verb


class Twin:
    def __init__(self) -> None:
        self.services: dict[Key, Service] = {}
        self.weights: dict[Key, dict[Real, int]] = {}
        self.active: dict[tuple[Key, Real], int] = {}

    def execute(self, commands: Iterable[Command]) -> None:
        for verb, key, service, real, weight in commands:
            if verb is Verb.ADD_SERVICE:
                assert key not in self.services
                assert service
                self.services[key], self.weights[key] = service, {}
            elif verb is Verb.EDIT_SERVICE:
                assert key in self.services
                assert service
                self.services[key] = service
            elif verb is Verb.DELETE_SERVICE:
                del self.services[key], self.weights[key]
            else:
                self._change_real(verb, self.weights[key], real, weight)

    @staticmethod
    def _change_real(verb: Verb, weights: dict[Real, int], real: Real | None, weight: int) -> None:
        assert real
        assert (real in weights) == (verb is not Verb.ADD_REAL)
        if verb is Verb.DELETE_REAL:
            del weights[real]
        else:
            weights[real] = weight

    def reals(self, key: Key) -> Mapping[Real, RealState]:
        found = self.weights.get(key, {})
        return {real: RealState(weight, self.active.get((key, real), 0)) for real, weight in found.items()}

    def serving(self) -> dict[Key, tuple[Service, frozenset[Real]]]:
        """Who gets new connections."""
        return {
            key: (service, frozenset(real for real, weight in self.weights[key].items() if weight))
            for key, service in self.services.items()
        }
